// A button that acts while it is held: by mouse, finger, pen, Space or Enter.
// A short press starts, and the next one ends: so do clicks of assistive technology.

const SHORT_MS = 400;
const KEYS = [" ", "Enter"];

/** Call `begin`, which returns whether it could, and `end` as `button` is held and let go. */
export function makeHoldable(button, begin, end) {
  let isOn = false;
  let pressedAt = 0;  // 0: it is not held

  async function press() {
    if (isOn) return stop();
    isOn = true;
    pressedAt = performance.now();
    isOn = await begin() && isOn;  // it may have been let go meanwhile
  }

  function release() {
    if (pressedAt && performance.now() - pressedAt >= SHORT_MS) stop();
    pressedAt = 0;
  }

  function stop() {
    pressedAt = 0;
    if (isOn) end();
    isOn = false;
  }

  button.addEventListener("pointerdown", (event) => {
    if (event.button !== 0) return;
    button.setPointerCapture(event.pointerId);
    press();
  });
  button.addEventListener("pointerup", release);
  button.addEventListener("pointercancel", release);
  button.addEventListener("contextmenu", (event) => event.preventDefault());  // of a long touch
  button.addEventListener("keydown", (event) => {
    if (!KEYS.includes(event.key)) return;
    event.preventDefault();
    if (!event.repeat) press();
  });
  button.addEventListener("keyup", (event) => {
    if (!KEYS.includes(event.key)) return;
    event.preventDefault();
    release();
  });
  button.addEventListener("blur", release);
  button.addEventListener("click", (event) => {
    if (event.detail === 0) press();  // neither a pointer nor one of the keys above
  });
}
