// The rating page. It knows names of pictures, their order and this rater's answers; nothing of where they come from.

const KEPT_NAME = "rater";
const AHEAD = 3; // pictures that are fetched before they are shown
const RETRY_MS = 1000;

const CHOICES = {
  share: {
    question: "For how much of the time does it meet the criterion?",
    answers: [0, 25, 50, 75, 100].map((value, place) => ({
      value, key: String(place + 1), text: `${value} %`, label: `${value} per cent of the time`,
    })),
  },
  frame: {
    question: "Does this picture meet the criterion?",
    answers: [
      { value: 1, key: "y", text: "Goal", label: "Yes, this is the goal" },
      { value: 0, key: "n", text: "Not the goal", label: "No, this is not the goal" },
    ],
  },
};

const $ = (id) => document.getElementById(id);
const state = {
  rater: "", mode: "share", goals: [], items: [],
  answers: new Map(), // item -> value
  given: [], // items in the order they were answered in this visit, for undo
  place: 0, busy: false, image: null, frame: 0, paused: false, since: 0,
};
const pictures = new Map(); // item -> promise of an ImageBitmap

// ---------------------------------------------------------------- server

async function request(path, options) {
  const response = await fetch(path, options);
  const body = await response.json().catch(() => ({}));
  if (!response.ok) throw Object.assign(new Error(body.error || `error ${response.status}`), { answered: true, refused: response.status < 500 });
  return body;
}

// Sends an answer until the server has it on its disk; the token keeps what is sent twice from counting twice.
async function send(item, value) {
  const token = [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, "0")).join("");
  const body = JSON.stringify({ rater: state.rater, item, value, token });
  for (;;) {
    try {
      return await request("/api/answers", { method: "POST", headers: { "Content-Type": "application/json" }, body });
    } catch (error) {
      if (error.refused) throw error;
      const why = error.answered ? error.message : "the server does not answer";
      say(`Not saved yet: ${why}. Trying again …`, true);
      await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
    }
  }
}

function picture(place) {
  const item = state.items[place];
  if (!pictures.has(item.id)) {
    const promise = fetch(`/images/${item.id}.webp`).then((response) => {
      if (!response.ok) throw new Error("the picture could not be loaded");
      return response.blob();
    }).then(createImageBitmap);
    promise.catch(() => pictures.delete(item.id));
    pictures.set(item.id, promise);
  }
  return pictures.get(item.id);
}

// Keeps the pictures around a place in memory and lets the others go: a sheet takes 20 MB when unpacked.
function prefetch() {
  const wanted = new Set();
  for (let place = Math.max(state.place - 1, 0); place <= state.place + AHEAD && place < state.items.length; place++) {
    wanted.add(state.items[place].id);
    picture(place).catch(() => {});
  }
  for (const [id, promise] of pictures) {
    if (wanted.has(id)) continue;
    pictures.delete(id);
    promise.then((image) => { if (image !== state.image) image.close(); }, () => {});
  }
}

// ---------------------------------------------------------------- what is seen

function show(id) {
  for (const panel of ["welcome", "rating", "problem"]) $(panel).hidden = panel !== id;
}

function say(text, bad = false) {
  $("status").textContent = text;
  $("status").className = bad ? "bad" : "";
}

function fail(error) {
  $("problem-text").textContent = error.message;
  show("problem");
  $("retry").focus();
}

async function go(place) {
  state.place = place;
  const item = state.items[place];
  const goal = state.goals[item.goal];
  $("prompt").textContent = `“${goal.prompt}”`;
  $("criterion").textContent = goal.criterion;
  const thing = state.mode === "share" ? "Episode" : "Picture";
  $("picture").setAttribute("aria-label", `${thing} ${place + 1} of ${state.items.length}`);
  mark();
  try {
    const image = await picture(place);
    if (state.place !== place) return; // another one was asked for meanwhile
    Object.assign(state, { image, frame: -1, paused: false, since: performance.now() });
    const columns = Math.ceil(Math.sqrt(item.frames));
    const rows = Math.ceil(item.frames / columns);
    const canvas = $("picture");
    const [width, height] = [image.width / columns, image.height / rows];
    if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
    draw(0);
    document.body.dataset.shown = item.id;
    prefetch();
  } catch (error) {
    fail(error);
  }
}

function mark() {
  const item = state.items[state.place];
  const value = state.answers.get(item.id);
  for (const button of $("answers").children) button.setAttribute("aria-pressed", String(Number(button.dataset.value) === value));
  const [done, all] = [state.answers.size, state.items.length];
  $("bar").max = all;
  $("bar").value = done;
  $("count").textContent = `${done} of ${all} answered`;
}

function draw(frame) {
  const item = state.items[state.place];
  if (frame === state.frame || !state.image) return;
  state.frame = frame;
  const canvas = $("picture");
  const columns = Math.ceil(Math.sqrt(item.frames));
  const { width, height } = canvas;
  canvas.getContext("2d").drawImage(
    state.image, (frame % columns) * width, Math.floor(frame / columns) * height, width, height, 0, 0, width, height);
  $("played").style.transform = `scaleX(${(frame + 1) / item.frames})`;
}

function tick(now) {
  const item = state.items[state.place];
  if (item && state.image && !state.paused && item.frames > 1) {
    draw(Math.floor(Math.max(now - state.since, 0) / 1000 * item.fps) % item.frames);
  }
  requestAnimationFrame(tick);
}

function pause(paused) {
  const item = state.items[state.place];
  if (item.frames < 2) return;
  state.paused = paused;
  state.since = performance.now() - (state.frame / item.fps) * 1000;
}

function step(by) {
  const item = state.items[state.place];
  pause(true);
  draw((state.frame + by + item.frames) % item.frames);
}

// ---------------------------------------------------------------- answers

function textOf(value) {
  return CHOICES[state.mode].answers.find((answer) => answer.value === value).text;
}

// The next item without an answer, after this one and then from the beginning; null when all have one.
function unanswered(after) {
  const count = state.items.length;
  for (let step = 1; step <= count; step++) {
    const place = (after + step) % count;
    if (!state.answers.has(state.items[place].id)) return place;
  }
  return null;
}

async function answer(value) {
  const item = state.items[state.place];
  if (state.busy || document.body.dataset.shown !== item.id) return; // not before it is seen
  state.busy = true;
  try {
    const changed = state.answers.has(item.id);
    await send(item.id, value);
    state.answers.set(item.id, value);
    state.given = [...state.given.filter((id) => id !== item.id), item.id];
    const next = unanswered(state.place);
    if (next === null) {
      mark();
      say(`Saved: ${textOf(value)}. All are answered, thank you. You can close this page.`);
    } else {
      await go(changed && state.place + 1 < state.items.length ? state.place + 1 : next);
      say(`Saved: ${textOf(value)}.`);
    }
    document.body.dataset.saved = String(state.answers.size);
  } catch (error) {
    say(`Not saved: ${error.message}`, true);
  } finally {
    state.busy = false;
  }
}

// Takes the last answer back, and shows what it was about.
async function undo() {
  const id = state.given.at(-1) ?? [...state.answers.keys()].at(-1);
  if (state.busy) return;
  if (id === undefined) return say("There is nothing to undo.");
  state.busy = true;
  try {
    await send(id, null);
    state.answers.delete(id);
    state.given = state.given.filter((other) => other !== id);
    await go(state.items.findIndex((item) => item.id === id));
    say("Taken back. Answer it again.");
    document.body.dataset.saved = String(state.answers.size);
  } catch (error) {
    say(`Not taken back: ${error.message}`, true);
  } finally {
    state.busy = false;
  }
}

async function move(by) {
  const place = state.place + by;
  if (state.busy) return;
  if (place < 0 || place >= state.items.length) return say(by < 0 ? "This is the first." : "This is the last.");
  say("");
  await go(place);
}

const KEYS = {
  ArrowLeft: () => move(-1),
  ArrowRight: () => move(1),
  Backspace: undo,
  u: undo,
  " ": () => pause(!state.paused),
  ",": () => step(-1),
  ".": () => step(1),
};

document.addEventListener("keydown", (event) => {
  if ($("rating").hidden || event.repeat || event.ctrlKey || event.metaKey || event.altKey) return;
  const onButton = event.target.closest("button") && (event.key === " " || event.key === "Enter");
  if (onButton) return; // the button's own key
  // The row of digits gives digits in every layout; letters go by what they say.
  const digit = /^(?:Digit|Numpad)([1-5])$/.exec(event.code)?.[1];
  const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
  const choice = CHOICES[state.mode].answers.find((each) => each.key === key || (state.mode === "share" && each.key === digit));
  const action = choice ? () => answer(choice.value) : KEYS[key];
  if (!action) return;
  event.preventDefault();
  action();
});

// ---------------------------------------------------------------- beginning

async function start(name) {
  const told = await request(`/api/tasks?rater=${encodeURIComponent(name)}`);
  Object.assign(state, { rater: told.rater, mode: told.mode, goals: told.goals, items: told.items, given: [] });
  state.answers = new Map(Object.entries(told.answers));
  localStorage.setItem(KEPT_NAME, told.rater);
  const { question, answers } = CHOICES[told.mode];
  $("question").textContent = question;
  $("answers").replaceChildren(...answers.map((each) => {
    const button = document.createElement("button");
    button.type = "button";
    button.dataset.value = each.value;
    button.setAttribute("aria-label", each.label);
    button.setAttribute("aria-keyshortcuts", each.key);
    const key = document.createElement("kbd");
    key.textContent = each.key.toUpperCase();
    button.append(key, each.text);
    button.addEventListener("click", () => answer(each.value));
    return button;
  }));
  for (const id of ["time", "hint-pause", "hint-step"]) $(id).hidden = told.mode !== "share";
  $("rater").textContent = told.rater;
  document.body.dataset.saved = String(state.answers.size);
  show("rating");
  const next = unanswered(-1);
  await go(next ?? state.items.length - 1);
  say(next === null ? "All are answered, thank you. You can close this page." : "");
}

async function welcome() {
  show("welcome");
  $("name").focus();
  const { raters } = await request("/api/raters").catch(() => ({ raters: [] }));
  $("names").replaceChildren(...raters.map((name) => Object.assign(document.createElement("option"), { value: name })));
}

$("name-form").addEventListener("submit", async (event) => {
  event.preventDefault();
  $("name-problem").textContent = "";
  try {
    await start($("name").value);
  } catch (error) {
    $("name-problem").textContent = error.message;
  }
});
$("leave").addEventListener("click", () => {
  localStorage.removeItem(KEPT_NAME);
  $("name").value = "";
  welcome();
});
$("retry").addEventListener("click", begin);

function begin() {
  const name = localStorage.getItem(KEPT_NAME);
  (name ? start(name) : welcome()).catch(fail);
}

requestAnimationFrame(tick);
begin();
