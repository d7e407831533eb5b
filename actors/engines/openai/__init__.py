"""Any server that answers OpenAI's completions: vLLM, SGLang, llama.cpp's server, TensorRT-LLM's,
and what comes next."""
