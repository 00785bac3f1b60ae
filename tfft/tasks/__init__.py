"""What to compute: each task joins data and models. TASKS maps a task's config class to its implementation."""

from tfft import config
from tfft.tasks.text_classification import TextClassificationTask

TASKS = {config.TextClassification: TextClassificationTask}
