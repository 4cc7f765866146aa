"""The machine's Whisper for other programs: OpenAI's API, whisper.cpp's, and Wyoming."""
