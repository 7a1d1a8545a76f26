"""The figures of the product, each as a ratio measured side by side in one run."""
