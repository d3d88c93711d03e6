"""The digits example: small diffusion models whose weights ship, and how they were trained."""
