"""Programs with the command lines, logs, reports and failures of ``trtllm-bench`` and ``vllm``.
No model and no GPU: time is slept.

Installed in an image as the package ``replica``. Needs click and PyYAML as the real images have them, and else only the
standard library. What is known of the real programs: their published command line references, reports and logs.
"""
