"""The trading run: from the signals of one session to orders, fills and protective stops of the next."""
