"""What every process of beers needs before it does anything: its configuration and its logs."""
