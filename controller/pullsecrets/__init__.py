"""Pull secrets for granted pulls: agents ask over TLS, and are told what one pull needs.

claims   who asks: the token, reviewed by the API server; the node and the Pod are its word
grants   whether the node may pull that image now; pure
owners   whose pull secrets are for it: those who asked for the image on that node
pace     how often anybody may ask; pure
app      the HTTP of it
serving  all together, on every replica: what is needed is in objects that stand-bys have too
"""
