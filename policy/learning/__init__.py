"""Training of diffusion and flow policies, distilled policies, and drafts."""
