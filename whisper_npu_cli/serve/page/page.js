// The page: what is given, what is asked of the server, and what is shown of its answer.

import { makeHoldable } from "./hold.js";
import { Recording } from "./microphone.js";
import { Player, formatLength } from "./player.js";
import { transcribe } from "./transcribe.js";

const KEY = "whisper-npu-key";
const STAGES = { audio: "read", vad: "find speech", align: "time the words" };
const LABEL = "Hold to speak";

const $ = (id) => document.getElementById(id);
const player = new Player($("audio"), $("text"));
let running = new AbortController();  // of the request that is shown
let given = null;  // the last recording

async function show(file) {
  running.abort();
  running = new AbortController();
  given = file;
  clear(file);
  try {
    await follow(file, running.signal);
  } catch (error) {
    if (error.name === "AbortError") return;
    showError(error);
  }
}

function clear(file) {
  for (const id of ["error", "key-form", "files", "timings", "mute"]) $(id).hidden = true;
  for (const id of ["result", "progress", "stop"]) $(id).hidden = false;
  $("name").textContent = file.name;
  $("status").textContent = "Waiting for the server …";
  $("progress").removeAttribute("value");
  player.load(file);
}

/** Show the text of a recording as it is decided. */
async function follow(file, signal) {
  const options = {
    language: $("language").value,
    isTranslated: $("translate").checked,
    key: sessionStorage.getItem(KEY),
    signal,
  };
  for await (const event of transcribe(file, options)) {
    if (event.type === "transcript.text.done") finish(file, event);
    else showSegment(event.segments[0], event.words);
  }
}

function showSegment(segment, words) {
  player.add(segment, words);
  const duration = player.durationS;
  const of = duration ? ` of ${formatLength(duration)}` : "";
  $("status").textContent = `Transcribing: ${formatLength(segment.end)}${of}`;
  if (duration) $("progress").value = Math.min(1, segment.end / duration);
}

function finish(file, { type: _, whisper_npu: work, ...transcript }) {
  end();
  const speed = transcript.duration / work.total_s;
  const facts = [
    `${formatLength(Math.round(transcript.duration))} in ${work.total_s.toFixed(1)} s`,
    `${speed < 10 ? speed.toFixed(1) : Math.round(speed)} times realtime`,
    transcript.language && name(transcript.language),
    work.model,
    work.device,
    ...work.remarks.map((remark) => remark[0].toUpperCase() + remark.slice(1)),
  ];
  $("status").textContent = facts.filter(Boolean).join(" · ");
  offer(file, { ...work.files, json: `${JSON.stringify(transcript, null, 2)}\n` });
  showTimings(work);
}

function end() {
  for (const id of ["progress", "stop"]) $(id).hidden = true;
}

const name = (language) => language[0].toUpperCase() + language.slice(1);

function offer(file, files) {
  const stem = file.name.replace(/\.[^.]*$/, "");
  for (const link of $("files").querySelectorAll("a")) {
    const { format } = link.dataset;
    if (link.href) URL.revokeObjectURL(link.href);
    link.href = URL.createObjectURL(new Blob([files[format]], { type: "text/plain" }));
    link.download = `${stem}.${format}`;
  }
  $("files").hidden = false;
}

function showTimings({ queue_s, total_s, stages }) {
  const rows = [
    { stage: "wait for a turn", engine: "", seconds: queue_s },
    ...stages,
    { stage: "all together", engine: "", seconds: total_s },
  ];
  $("timings").querySelector("tbody").replaceChildren(...rows.map(({ stage, engine, seconds }) => {
    const row = document.createElement("tr");
    for (const text of [STAGES[stage] ?? stage, engine, "", `${Math.round(1000 * seconds)} ms`]) {
      row.insertCell().textContent = text;
    }
    row.cells[2].className = "bar";
    row.cells[2].ariaHidden = "true";
    row.cells[2].style.setProperty("--share", Math.min(1, seconds / total_s));
    return row;
  }));
  $("timings").hidden = false;
}

function showError(error) {
  end();
  $("status").textContent = "";
  $("result").hidden = !$("text").hasChildNodes();
  $("error").textContent = error.message;
  $("error").hidden = false;
  if (error.status === 401) {
    $("key-form").hidden = false;
    $("key").focus();
  }
}

function stop() {
  running.abort();
  end();
  $("status").textContent = "Stopped";
}

/* The ways in */

$("file").addEventListener("change", ({ target }) => {
  if (target.files.length) show(target.files[0]);
  target.value = "";  // so that the same file may be chosen again
});
$("stop").addEventListener("click", stop);
$("audio").addEventListener("error", () => { $("mute").hidden = false; });
$("key-form").addEventListener("submit", (event) => {
  event.preventDefault();
  sessionStorage.setItem(KEY, $("key").value);
  if (given) show(given);
});

for (const kind of ["dragenter", "dragover", "dragleave", "drop"]) {
  document.addEventListener(kind, (event) => {
    event.preventDefault();
    const isOver = kind === "dragover" || kind === "dragenter";
    document.body.classList.toggle("dropping", isOver);
    if (kind === "drop" && event.dataTransfer.files.length) show(event.dataTransfer.files[0]);
  });
}

let beginning = null;  // the recording that is or will be going on

async function listen() {
  $("error").hidden = true;
  $("speak").classList.add("recording");
  $("speak-label").textContent = "Listening …";
  beginning = Recording.begin((level, seconds) => {
    $("speak").style.setProperty("--loudness", level);
    $("speak-label").textContent = `Listening ${formatLength(seconds)}`;
  });
  try {
    await beginning;
    return true;
  } catch (error) {
    rest();
    showError(error);
    return false;
  }
}

async function hear() {
  const recording = await beginning.catch(() => null);  // which `listen` has told
  if (!recording) return;
  try {
    show(recording.end());
  } catch (error) {
    showError(error);
  }
  rest();
}

function rest() {
  $("speak").classList.remove("recording");
  $("speak-label").textContent = LABEL;
}

makeHoldable($("speak"), listen, hear);
