"""The local Google: BigQuery, Cloud Storage and the identity services, on one machine."""

from .front import Google

__all__ = ["Google"]
