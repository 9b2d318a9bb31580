"""Training: of policies, flows, distilled policies and drafts."""
