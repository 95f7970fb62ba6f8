"""The vendor `polygon`: first load and daily top-up over HTTP."""
