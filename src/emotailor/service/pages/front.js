"use strict";
// Clips are uploaded one after the other; what becomes of them is shown as the service tells it.

const list = document.querySelector(".clips ol");
const section = document.querySelector(".clips");
const tally = document.querySelector(".tally");
const clear = document.querySelector("#clear");
const trouble = document.querySelector("#trouble");
const left = document.querySelector("#left");
const spoken = document.querySelector(".spoken");
const template = document.querySelector("#clip");

const LIVE = 2; // streams of events at a time: a browser has six connections to a service
const POLL = 1500; // milliseconds
const SELDOM = 15000; // where nothing is awaited
const ENDED = ["done", "failed", "cancelled"];
const DOWNLOADS = ["json", "csv", "srt", "html"];
// what a folder may hold beside clips is left out; a single file is sent whatever its name is
const VIDEO = /\.(mp4|m4v|mov|mkv|webm|avi|mpe?g|m2v|mts|m2ts|ts|flv|wmv|ogv|3gp)$/i;
const SOUND = /\.(wav|mp3|flac|aac|m4a|ogg|opus|wma)$/i;

/**
 * A clip: `name` is shown, `file` is to be uploaded, `job` is what the service says of it.
 * `state` is one of "here", "sending", "away" (the service has it) and "refused".
 */
const clips = [];
let limits = {};

// ---------------------------------------------------------------------- what is shown

const percent = (share) => `${Math.floor(100 * share)} %`;

const bytes = (size) => {
  const units = ["B", "kB", "MB", "GB"];
  let unit = 0;
  for (; size >= 1000 && unit < units.length - 1; unit += 1) size /= 1000;
  return `${unit ? size.toFixed(1) : size} ${units[unit]}`;
};

const statusOf = (clip) => {
  if (clip.state === "refused") return "failed";
  return clip.state === "away" ? clip.job.status : clip.state;
};

const told = (clip) => {
  const status = statusOf(clip);
  if (status === "here" && clip.isHeld) return "waits until the service has room";
  if (status === "here") return "waits to be uploaded";
  if (status === "sending") return `uploads, ${percent(clip.share)} of ${bytes(clip.file.size)}`;
  if (status === "waiting") return clip.job.place ? `waits, place ${clip.job.place}` : "waits";
  if (status === "working") {
    const stage = clip.job.stage || "works";
    return `${stage}, ${percent(clip.job.share || 0)}`;
  }
  return status;
};

const make = (kind, text, changes = {}) =>
  Object.assign(document.createElement(kind), { textContent: text, ...changes });

const show = (clip) => {
  const status = statusOf(clip);
  const row = clip.row;
  row.className = `clip ${status}`;
  row.querySelector(".name").textContent = clip.name;
  row.querySelector(".state").textContent = told(clip);

  const bar = row.querySelector("progress");
  bar.hidden = !["sending", "waiting", "working"].includes(status);
  bar.setAttribute("aria-label", `${clip.name}: ${told(clip)}`);
  if (status === "sending") bar.value = clip.share;
  else if (status === "working") bar.value = clip.job.share || 0;
  else bar.value = 0;

  // what does not change any more is made once, so that nobody loses a button
  if (clip.shown !== status) {
    clip.shown = status;
    showError(clip, status);
    showLinks(clip, status);
    if (ENDED.includes(status)) spoken.textContent = `${clip.name}: ${told(clip)}`;
  }
  showTally();
};

const showError = (clip, status) => {
  const error = clip.error || clip.job?.error;
  if (status !== "done") clip.row.querySelector(".found").hidden = true;
  const box = clip.row.querySelector(".error");
  box.hidden = status !== "failed" || !error;
  if (box.hidden) return;
  const parts = [
    ["found", error.found],
    ["expected", error.expected],
    ["what to do", error.fix],
  ];
  const lines = parts
    .filter(([, text]) => text)
    .map(([title, text]) => {
      const line = document.createElement("div");
      line.append(make("dt", title), make("dd", text));
      return line;
    });
  box.replaceChildren(...lines);
};

const showLinks = (clip, status) => {
  const parts = [];
  if (status === "done") {
    const links = clip.job.links;
    const open = make("a", "Open", { href: links.page, className: "button main" });
    open.setAttribute("aria-label", `Open ${clip.name}`);
    parts.push(open);
    for (const form of DOWNLOADS.filter((name) => links[name])) {
      const name = form.toUpperCase();
      const link = make("a", name, { href: links[form], className: "button", download: "" });
      link.setAttribute("aria-label", `${name} of ${clip.name}`);
      parts.push(link);
    }
  }
  clip.row.querySelector(".links").replaceChildren(...parts);

  const name = ENDED.includes(status) ? "Remove" : "Cancel";
  const remove = clip.row.querySelector(".remove");
  remove.textContent = name;
  remove.setAttribute("aria-label", `${name} ${clip.name}`);
};

const showTally = () => {
  const states = clips.map(statusOf);
  const over = states.filter((state) => ENDED.includes(state)).length;
  section.hidden = !clips.length;
  clear.hidden = clips.length < 2 || !over;
  tally.textContent = clips.length < 2 ? "" : `${over} of ${clips.length} finished`;
};

/** Show in a row which emotions hold in how many utterances. */
const showFound = async (clip) => {
  const answer = await fetch(clip.job.links.json).catch(() => null);
  if (!answer?.ok) return;
  const timeline = await answer.json();
  const found = timeline.moments.map((moment) => moment.prediction).filter(Boolean);
  const countOf = (label) => found.filter((one) => one.decisions[label]).length;
  const held = timeline.labels
    .map((label) => [label, countOf(label)])
    .filter(([, count]) => count)
    .sort((one, other) => other[1] - one[1]);

  const parts = held.map(([label, count]) => {
    const part = make("span", `${label} `, { className: "emotion" });
    part.append(make("span", `${count} of ${found.length}`));
    return part;
  });
  const failure = timeline.moments.find((moment) => moment.failure)?.failure.error;
  const lack = failure ? failure.split(";")[0] : "no utterances";
  const none = found.length ? "no emotion holds" : `nothing is predicted: ${lack}`;
  if (!held.length) parts.push(make("span", none, { className: "none" }));
  const box = clip.row.querySelector(".found");
  box.replaceChildren(...parts);
  box.hidden = false;
};

// ---------------------------------------------------------------------- what the service says

/** Return the error of an answer: found, expected, fix. */
const errorIn = (text, status) => {
  try {
    return JSON.parse(text).error;
  } catch {
    return { found: `the service answered ${status}`, expected: null, fix: "try again" };
  }
};

const isNotKept = {
  found: "the service does not keep this result any more",
  expected: null,
  fix: "upload it again",
};
const isGone = { ...isNotKept, found: "the service does not know this video any more" };

const learn = (clip, job) => {
  clip.job = job;
  const isNew = clip.state !== "away";
  clip.state = "away";
  show(clip);
  if (!ENDED.includes(job.status)) {
    watch();
    return;
  }
  clip.stream?.close();
  clip.stream = null;
  if (job.status === "done") {
    showFound(clip);
    // who uploaded a single clip wants to see it
    if (clip.isAlone && !isNew) location.assign(job.links.page);
  }
  watch();
};

const refuse = (clip, error) => {
  clip.stream?.close();
  clip.stream = null;
  clip.state = "refused";
  clip.error = error;
  show(clip);
};

const unfinished = () =>
  clips.filter((clip) => clip.state === "away" && !ENDED.includes(clip.job.status));

/** Listen to the first of those that are unfinished; the others are asked for now and then. */
const watch = () => {
  const streams = clips.filter((clip) => clip.stream).length;
  const waiting = unfinished().filter((clip) => !clip.stream && !clip.isPolled);
  for (const clip of waiting.slice(0, Math.max(LIVE - streams, 0))) {
    listen(clip);
  }
};

const listen = (clip) => {
  const stream = new EventSource(clip.job.links.events);
  clip.stream = stream;
  stream.addEventListener("progress", (event) => {
    if (clip.stream === stream) learn(clip, JSON.parse(event.data));
  });
  stream.addEventListener("error", () => {
    // a proxy may not let streams through: then it is asked for
    stream.close();
    if (clip.stream !== stream) return;
    clip.stream = null;
    clip.isPolled = true;
  });
};

const poll = async () => {
  const asked = clips.filter((clip) => clip.state === "away" && clip.job.status !== "failed");
  try {
    if (asked.length) await askFor(asked);
    trouble.hidden = true;
  } catch {
    trouble.textContent = "The service does not answer. This page goes on asking.";
    trouble.hidden = false;
  }
  setTimeout(poll, unfinished().length || !trouble.hidden ? POLL : SELDOM);
};

const askFor = async (asked) => {
  const jobs = await allJobs();
  const byId = new Map(jobs.map((job) => [job.id, job]));
  for (const clip of asked) {
    const job = byId.get(clip.job.id);
    const isOver = ENDED.includes(clip.job.status);
    if (job && !clip.stream && !isOver) learn(clip, job);
    // the service keeps the newest ones, for a while
    if (!job && clips.includes(clip)) refuse(clip, isOver ? isNotKept : isGone);
  }
};

const allJobs = async () => {
  const answer = await fetch("/v1/videos");
  if (answer.status === 401) location.assign("/login");
  if (!answer.ok) throw new Error(`${answer.status}`);
  return (await answer.json()).videos;
};

// ---------------------------------------------------------------------- uploading

let isSending = false;
let isBegun = false; // what the service had before is in the list

const sendNext = () => {
  const clip = clips.find((one) => one.state === "here");
  if (isSending || !isBegun || !clip) return;
  const most = limits.most_bytes;
  if (most && clip.file.size > most) {
    refuse(clip, {
      found: `a file of ${bytes(clip.file.size)}`,
      expected: `at most ${bytes(most)}`,
      fix: "cut it, or start the service with a larger limit",
    });
    sendNext();
    return;
  }
  send(clip);
};

const send = (clip) => {
  const request = new XMLHttpRequest();
  isSending = true;
  clip.request = request;
  clip.state = "sending";
  clip.share = 0;
  show(clip);

  request.upload.addEventListener("progress", (event) => {
    clip.share = event.total ? event.loaded / event.total : 0;
    show(clip);
  });
  const end = (next) => {
    isSending = false;
    clip.request = null;
    next();
  };
  request.addEventListener("load", () => end(() => answered(clip, request)));
  request.addEventListener("abort", () => end(sendNext));
  request.addEventListener("error", () =>
    end(() => {
      refuse(clip, {
        found: "the connection ended during the upload",
        expected: null,
        fix: "look whether the service runs, and choose the clip again",
      });
      sendNext();
    }),
  );
  request.open("POST", `/v1/videos?name=${encodeURIComponent(clip.file.name)}`);
  request.setRequestHeader("Content-Type", "application/octet-stream");
  request.send(clip.file);
};

const answered = (clip, request) => {
  if (request.status === 202) {
    learn(clip, JSON.parse(request.responseText));
    sendNext();
    return;
  }
  if (request.status === 401) {
    location.assign("/login");
    return;
  }
  // it has too much to do: the others wait, too
  if (request.status === 503) {
    const seconds = Number(request.getResponseHeader("Retry-After")) || 3;
    clip.state = "here";
    clip.isHeld = true;
    show(clip);
    setTimeout(sendNext, 1000 * seconds);
    return;
  }
  refuse(clip, errorIn(request.responseText, request.status));
  sendNext();
};

/** Cancel or remove a clip, wherever it is. */
const drop = async (clip) => {
  clip.request?.abort();
  clip.stream?.close();
  clip.stream = null;
  clips.splice(clips.indexOf(clip), 1);
  const next = clip.row.nextElementSibling || clip.row.previousElementSibling;
  clip.row.remove();
  // the place of the keyboard was in the row
  (next?.querySelector("a, button") || document.querySelector("[data-choose]")).focus();
  spoken.textContent = `${clip.name}: removed`;
  showTally();
  if (clip.job && clip.state !== "refused") {
    await fetch(clip.job.links.self, { method: "DELETE" }).catch(() => null);
  }
  watch();
};

clear.addEventListener("click", () => {
  for (const clip of clips.filter((one) => ENDED.includes(statusOf(one)))) drop(clip);
});

// ---------------------------------------------------------------------- choosing

const add = (name, changes) => {
  const clip = { name, row: template.content.firstElementChild.cloneNode(true), ...changes };
  clip.row.querySelector(".remove").addEventListener("click", () => drop(clip));
  clips.push(clip);
  list.append(clip.row);
  return clip;
};

const isMedium = ([, file]) => VIDEO.test(file.name) || SOUND.test(file.name);

/** Take files that were chosen: `[path, file]` of each, and whether they were named one by one. */
const take = (chosen, { isFolder }) => {
  const taken = isFolder ? chosen.filter(isMedium) : chosen;
  taken.sort(([one], [other]) => one.localeCompare(other, undefined, { numeric: true }));
  const others = chosen.length - taken.length;
  const share = `${others} of ${chosen.length} files`;
  left.textContent = `Left out, as by their names they are no videos or sounds: ${share}.`;
  left.hidden = !others;

  const isAlone = taken.length === 1 && !clips.some((clip) => !ENDED.includes(statusOf(clip)));
  for (const [path, file] of taken) {
    show(add(path, { file, state: "here", isAlone }));
  }
  // who adds another one stays here
  if (!isAlone) for (const clip of clips) clip.isAlone = false;
  sendNext();
};

for (const kind of ["files", "folder"]) {
  const input = document.querySelector(`#${kind}`);
  document.querySelector(`[data-choose=${kind}]`).addEventListener("click", () => input.click());
  input.addEventListener("change", () => {
    const chosen = [...input.files].map((file) => [file.webkitRelativePath || file.name, file]);
    input.value = "";
    take(chosen, { isFolder: kind === "folder" });
  });
}

const entriesIn = (folder) => {
  const reader = folder.createReader();
  const found = [];
  return new Promise((resolve, reject) => {
    // a call gives some of them; one that gives none is the last
    const next = () =>
      reader.readEntries((some) => {
        if (!some.length) return resolve(found);
        found.push(...some);
        return next();
      }, reject);
    next();
  });
};

const filesIn = async (entry) => {
  if (entry.isFile) {
    const file = await new Promise((resolve, reject) => entry.file(resolve, reject));
    return [[entry.fullPath.replace(/^\//, ""), file]];
  }
  const found = [];
  for (const inner of await entriesIn(entry)) found.push(...(await filesIn(inner)));
  return found;
};

let depth = 0; // of elements that something is dragged over
const isOver = (change) => {
  depth = Math.max(depth + change, 0);
  document.body.classList.toggle("dropping", depth > 0);
};
addEventListener("dragenter", (event) => {
  event.preventDefault();
  isOver(1);
});
addEventListener("dragleave", () => isOver(-1));
addEventListener("dragover", (event) => event.preventDefault());
addEventListener("drop", async (event) => {
  event.preventDefault();
  isOver(-depth);
  // after the first wait, the items are gone; a browser may know the files alone
  const items = [...event.dataTransfer.items].filter((item) => item.kind === "file");
  const found = items.map((item) => [item.webkitGetAsEntry?.(), item.getAsFile()]);
  const isFolder = found.some(([entry]) => entry?.isDirectory);
  const chosen = [];
  try {
    for (const [entry, file] of found) {
      if (entry) chosen.push(...(await filesIn(entry)));
      else if (file) chosen.push([file.name, file]);
    }
  } catch {
    trouble.textContent = "What was dropped cannot be read.";
    trouble.hidden = false;
    return;
  }
  if (chosen.length) take(chosen, { isFolder });
});

addEventListener("beforeunload", (event) => {
  // the files are here, and the rest of them would never arrive
  if (isSending) event.preventDefault();
});

// ---------------------------------------------------------------------- the beginning

/** Say what the model names, what is kept, and why videos are not taken, if so. */
const tellModel = (model) => {
  limits = model.limits;
  const minutes = Math.round(limits.kept_seconds / 60);
  document.querySelector("#model").textContent =
    `The model names ${model.labels.join(", ")}. ` +
    `The newest ${limits.most_kept} results are kept for ${minutes} minutes.`;

  const why = model.videos.why_not;
  if (!why) return;
  const box = document.querySelector("#takes");
  const expected = why.expected ? `expected ${why.expected}` : null;
  const told = [why.found, expected, why.fix].filter(Boolean).join("; ");
  box.textContent = `Videos are not predicted here: ${told}.`;
  box.className = "warning";
  for (const button of document.querySelectorAll("[data-choose]")) button.disabled = true;
};

const begin = async () => {
  const answer = await fetch("/v1/model").catch(() => null);
  if (answer?.ok) tellModel(await answer.json());
  try {
    for (const job of await allJobs()) {
      learn(add(job.name, { state: "here" }), job);
    }
  } catch {
    trouble.textContent = "The service does not answer.";
    trouble.hidden = false;
  }
  isBegun = true;
  sendNext();
  setTimeout(poll, POLL);
};
begin();
