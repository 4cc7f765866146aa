// The text of a transcript beside its audio: a word that is clicked is heard.

const STEPS = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 };

export class Player {
  #audio;
  #text;
  #words = [];  // elements, in order of their times
  #now = -1;

  constructor(audio, text) {
    this.#audio = audio;
    this.#text = text;
    text.addEventListener("click", ({ target }) => this.#play(this.#words.indexOf(target)));
    text.addEventListener("keydown", (event) => this.#press(event));
    audio.addEventListener("play", () => this.#follow());
    audio.addEventListener("seeked", () => this.#mark());
    audio.addEventListener("loadedmetadata", () => this.#setAudible(true));
    audio.addEventListener("error", () => this.#setAudible(false));
  }

  /** Begin with another recording. */
  load(file) {
    if (this.#audio.src) URL.revokeObjectURL(this.#audio.src);
    this.#text.replaceChildren();
    this.#words = [];
    this.#now = -1;
    this.#setAudible(false);
    this.#audio.src = URL.createObjectURL(file);
  }

  /** Seconds of the recording, where the browser can tell. */
  get durationS() {
    return Number.isFinite(this.#audio.duration) ? this.#audio.duration : null;
  }

  /** Add a segment with the words of it. */
  add(segment, words) {
    const said = document.createElement("span");
    const time = document.createElement("time");
    time.textContent = formatLength(segment.start);
    let text = segment.text.trim();
    for (const word of words.length ? words : [{ ...segment, word: text }]) {
      const at = text.indexOf(word.word);
      if (at < 0 || !word.word) continue;
      said.append(text.slice(0, at), this.#makeWord(word));
      text = text.slice(at + word.word.length);
    }
    said.append(text);
    const line = document.createElement("p");
    line.append(time, said);
    this.#text.append(line);
  }

  #makeWord({ word, start }) {
    const element = document.createElement("span");
    element.className = "word";
    element.textContent = word;
    element.dataset.start = start;
    this.#words.push(element);
    return element;
  }

  /** Let the words be played, or not: a browser cannot play every format. */
  #setAudible(isAudible) {
    this.#audio.hidden = !isAudible;
    this.#text.classList.toggle("audible", isAudible);
    if (isAudible) this.#text.tabIndex = 0;
    else this.#text.removeAttribute("tabindex");
  }

  get #isAudible() {
    return this.#text.classList.contains("audible");
  }

  #play(i) {
    if (i < 0 || !this.#isAudible) return;
    this.#seek(i);
    this.#audio.play();
  }

  #seek(i) {
    const at = Math.max(0, Math.min(i, this.#words.length - 1));
    this.#audio.currentTime = Number(this.#words[at].dataset.start);
    this.#show(at);
  }

  #press(event) {
    if (!this.#isAudible || !this.#words.length || event.ctrlKey || event.altKey || event.metaKey) {
      return;
    }
    if (event.key in STEPS) this.#seek(this.#now + STEPS[event.key]);
    else if (event.key === "Home") this.#seek(0);
    else if (event.key === "End") this.#seek(this.#words.length - 1);
    else if (event.key !== " " && event.key !== "Enter") return;
    else if (this.#audio.paused) this.#audio.play();
    else this.#audio.pause();
    event.preventDefault();
  }

  #follow() {
    this.#mark();
    if (!this.#audio.paused) requestAnimationFrame(() => this.#follow());
  }

  #mark() {
    const now = this.#audio.currentTime + 0.001;  // players round what they are told
    let [low, high] = [0, this.#words.length];  // the last word that has begun is before `low`
    while (low < high) {
      const middle = (low + high) >> 1;
      if (Number(this.#words[middle].dataset.start) <= now) low = middle + 1;
      else high = middle;
    }
    this.#show(low - 1);
  }

  #show(i) {
    if (i === this.#now) return;
    this.#words[this.#now]?.classList.remove("now");
    this.#words[i]?.classList.add("now");
    this.#words[i]?.scrollIntoView({ block: "nearest" });
    this.#now = i;
  }
}

/** Return `0:05` or `1:02:57`. */
export function formatLength(seconds) {
  const whole = Math.floor(seconds);
  const parts = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60, whole % 60];
  const shown = parts[0] ? parts : parts.slice(1);
  return shown.map((part, i) => (i ? String(part).padStart(2, "0") : part)).join(":");
}
