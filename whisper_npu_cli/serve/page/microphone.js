// The microphone as a WAV file: what every player can seek in, unlike MediaRecorder's formats.

import { Problem } from "./transcribe.js";

const WORKLET = "page/recorder.js";
const MIN_S = 0.2;  // shorter than a word

/** A recording that has begun; `onLevel` gets its loudness (0 to 1) and its seconds so far. */
export class Recording {
  static async begin(onLevel) {
    if (!navigator.mediaDevices) {
      throw new Problem("Browsers give the microphone to https and localhost only: "
        + "open this page through one of them, or choose a file.");
    }
    const media = await navigator.mediaDevices.getUserMedia({ audio: { channelCount: 1 } })
      .catch((error) => { throw describeFailure(error); });
    const recording = new Recording(media, onLevel);
    await recording.#listen().catch((error) => {
      recording.#close();
      throw describeFailure(error);
    });
    return recording;
  }

  #blocks = [];
  #nSamples = 0;
  #media;
  #node = null;
  #onLevel;
  #context = new AudioContext();

  constructor(media, onLevel) {
    this.#media = media;
    this.#onLevel = onLevel;
  }

  async #listen() {
    await this.#context.audioWorklet.addModule(WORKLET);
    const node = this.#node = new AudioWorkletNode(this.#context, "recorder");
    node.port.onmessage = ({ data }) => this.#take(data);
    this.#context.createMediaStreamSource(this.#media).connect(node);
    node.connect(this.#context.destination);  // or it is not run; it plays silence
    await this.#context.resume();
  }

  #take(block) {
    this.#blocks.push(block);
    this.#nSamples += block.length;
    const peak = block.reduce((most, sample) => Math.max(most, Math.abs(sample)), 0);
    this.#onLevel(Math.min(1, Math.sqrt(peak)), this.#nSamples / this.#context.sampleRate);
  }

  /** End it, give the microphone back, and return the file. */
  end() {
    this.#close();
    const rate = this.#context.sampleRate;
    if (this.#nSamples < MIN_S * rate) {
      throw new Problem("Nothing was recorded: hold the button while you speak.");
    }
    const name = `Recording ${new Date().toLocaleTimeString().replaceAll(":", ".")}.wav`;
    return new File([encodeWav(this.#blocks, this.#nSamples, rate)], name, { type: "audio/wav" });
  }

  #close() {
    if (this.#node) this.#node.port.onmessage = null;  // some blocks may be on their way
    this.#media.getTracks().forEach((track) => track.stop());
    this.#context.close();
  }
}

function describeFailure(error) {
  const sentences = {
    NotAllowedError: "The browser may not use the microphone: allow it beside the address, "
      + "then hold the button again.",
    NotFoundError: "There is no microphone: connect one, then hold the button again.",
  };
  return new Problem(sentences[error.name]
    ?? `The microphone cannot be used (${error.message}): end what else uses it, then try again.`);
}

/** Return a WAV file of 16-bit mono. */
function encodeWav(blocks, nSamples, rate) {
  const view = new DataView(new ArrayBuffer(44 + 2 * nSamples));
  const write = (at, text) => [...text].forEach((c, i) => view.setUint8(at + i, c.charCodeAt(0)));
  write(0, "RIFF");
  view.setUint32(4, 36 + 2 * nSamples, true);
  write(8, "WAVEfmt ");
  view.setUint32(16, 16, true);
  view.setUint16(20, 1, true);  // PCM
  view.setUint16(22, 1, true);  // channel
  view.setUint32(24, rate, true);
  view.setUint32(28, 2 * rate, true);
  view.setUint16(32, 2, true);
  view.setUint16(34, 16, true);
  write(36, "data");
  view.setUint32(40, 2 * nSamples, true);
  let at = 44;
  for (const block of blocks) {
    for (const sample of block) {
      view.setInt16(at, Math.max(-1, Math.min(1, sample)) * 32767, true);
      at += 2;
    }
  }
  return view.buffer;
}
