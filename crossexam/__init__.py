"""CrossExam: does this paper's method do what the paper says, on ground one can trust, and does it still today?"""

__version__ = "0.1.0"
