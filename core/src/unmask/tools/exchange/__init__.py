"""Exchange: encoders to and from other libraries, read without running code and never half matched unnoticed."""
