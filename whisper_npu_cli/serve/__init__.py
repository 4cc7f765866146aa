"""The machine's Whisper for other programs, over HTTP: OpenAI's API and that of whisper.cpp."""
