"""An attack and an audit for Undertow, as another package adds them."""
