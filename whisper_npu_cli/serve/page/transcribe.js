// One recording in, the events of its transcription out: OpenAI's API with `stream=true`.

/** What went wrong, in one line with what to do; `status` is the answer's, 0 without one. */
export class Problem extends Error {
  constructor(message, status = 0) {
    super(message);
    this.status = status;
  }
}

/** Yield the events of a transcription; `signal` ends it. */
export async function* transcribe(file, { language, isTranslated, key, signal }) {
  const form = new FormData();
  form.set("stream", "true");
  form.set("response_format", "verbose_json");
  for (const one of ["segment", "word"]) form.append("timestamp_granularities[]", one);
  if (language) form.set("language", language);
  form.set("file", file, file.name);  // the last: a server may refuse the rest before it arrives
  const path = `v1/audio/${isTranslated ? "translations" : "transcriptions"}`;
  const headers = key ? { Authorization: `Bearer ${key}` } : {};
  const answer = await ask(path, { method: "POST", body: form, headers, signal });
  yield* readEvents(answer.body);
}

async function ask(path, options) {
  let answer;
  try {
    answer = await fetch(path, options);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Problem("The server does not answer. Start `whisper-npu serve`, then try again.");
  }
  if (!answer.ok) throw await describeRefusal(answer);
  return answer;
}

async function describeRefusal(answer) {
  const said = await answer.json().then((content) => content.error.message, () => "");
  const advice = {
    401: "Enter the key that the server was started with.",
    413: "Cut the recording into parts, or start the server with a higher limit.",
    503: `Try again in ${answer.headers.get("Retry-After") ?? "5"} s.`,
  }[answer.status] ?? "";
  const what = said || `The server answered with ${answer.status}.`;
  return new Problem(answer.status === 401 ? advice : `${endSentence(what)} ${advice}`.trim(),
    answer.status);
}

function endSentence(text) {
  return /[.!?)]$/.test(text) ? text : `${text}.`;
}

/** Yield the JSON of server-sent events; Problem for an event that is an error. */
async function* readEvents(body) {
  let text = "";
  for await (const chunk of readText(body)) {
    const blocks = (text + chunk).split("\n\n");
    text = blocks.pop();
    for (const block of blocks) {
      const event = JSON.parse(block.replace(/^data: /, ""));
      if (event.error) throw new Problem(endSentence(event.error.message));
      yield event;
      if (event.type === "transcript.text.done") return;
    }
  }
  throw new Problem("The server ended before the text did. Look at its log, then try again.");
}

async function* readText(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  for (;;) {  // no `for await`: Safari's streams do not have it
    const { done, value } = await reader.read().catch((error) => {
      if (error.name === "AbortError") throw error;
      throw new Problem("The connection to the server broke. Try again.");
    });
    if (done) return;
    yield value;
  }
}
