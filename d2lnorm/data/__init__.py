"""Fashion-MNIST: fetched and verified, and held in memory as batches."""

from d2lnorm.data.batches import LABELS, Batches, load_fashion_mnist
from d2lnorm.data.fashion_mnist import FetchError, fetch_fashion_mnist

__all__ = ["LABELS", "Batches", "FetchError", "fetch_fashion_mnist", "load_fashion_mnist"]
