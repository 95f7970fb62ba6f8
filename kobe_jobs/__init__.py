"""When Kobe works: definitions, jobs, schedules, sensors and the command line."""
