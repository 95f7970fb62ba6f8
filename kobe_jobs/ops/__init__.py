"""Running Kobe: the UI, backups, health and systemd units."""
