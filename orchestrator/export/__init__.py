"""Export: an experiment of a store as tables, PNG files, or a data set of Hugging Face."""

from segtransfer.export.folder import Exported, ExportFormat, export

__all__ = ["ExportFormat", "Exported", "export"]
