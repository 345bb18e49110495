"use strict";
// The page says everything without this. Here charts are read and used as controls, the video and
// the timeline follow each other, and thresholds can be moved.

const main = document.querySelector("main");
const video = document.querySelector("video");
const charts = [...document.querySelectorAll(".tracks")];
const duration = Number(charts[0].dataset.duration);
const top100 = Number(charts[0].dataset.top) / 100;
const numbers = (text) => (text ? text.split(" ").map(Number) : null);

const moments = [...document.querySelectorAll(".moment")].map((item) => ({
  item,
  start: Number(item.dataset.start),
  end: Number(item.dataset.end),
  p: numbers(item.dataset.p), // of each emotion; null where nothing is predicted
  said: item.querySelector(".told").textContent.trim(),
  emotions: [...item.querySelectorAll(".emotions [data-label]")].map((one) => [
    one,
    Number(one.dataset.label),
  ]),
  none: item.querySelector(".emotions .none"),
}));
const predicted = moments.filter((moment) => moment.p);

const rows = [...document.querySelectorAll(".row[data-name]")].map((item) => ({
  item,
  name: item.dataset.name,
  track: item.querySelector(".track"),
  picture: item.querySelector("svg"),
  chart: item.parentElement,
  values: item.dataset.values === undefined ? null : item.dataset.values.split(","),
  none: item.dataset.none || item.querySelector(".gap")?.textContent || "",
}));
const curves = rows.filter((row) => row.item.dataset.label === undefined);
const emotions = rows.filter((row) => row.item.dataset.label !== undefined);
for (const [k, row] of emotions.entries()) {
  row.k = k;
  row.slider = row.item.querySelector("input");
  row.given = Number(row.slider.dataset.threshold);
  row.threshold = row.given;
  row.bars = [...row.item.querySelectorAll("rect")];
  row.limit = row.item.querySelector(".limit");
  row.count = row.item.querySelector(".value > span");
  row.number = row.item.querySelector(".number");
}
main.classList.add("live");

// ---------------------------------------------------------------------- times and values

const clock = (seconds) => {
  const whole = Math.floor(Math.max(seconds, 0));
  const two = (number) => String(number).padStart(2, "0");
  const hours = Math.floor(whole / 3600);
  const minutes = Math.floor(whole / 60) % 60;
  if (hours) return `${hours}:${two(minutes)}:${two(whole % 60)}`;
  return `${minutes}:${two(whole % 60)}`;
};

const momentAt = (seconds) =>
  moments.find((moment) => seconds >= moment.start && seconds < moment.end);

// the rule of the program
const holds = (row, moment) => moment.p[row.k] > row.threshold;

/** Two numbers with as many digits as it takes to see which is larger. */
const apart = (one, other) => {
  let digits = 2;
  while (digits < 7 && one !== other && one.toFixed(digits) === other.toFixed(digits)) digits += 1;
  return [one.toFixed(digits), other.toFixed(digits)];
};

/** What a chart shows at a time, in words. */
const valueOf = (row, seconds, moment) => {
  if (row.k === undefined) {
    const values = row.values || [];
    const step = Math.floor(seconds / Number(row.item.dataset.step));
    const value = values[Math.min(step, values.length - 1)];
    if (!value) return `${row.name}: ${row.none}`;
    return `${row.name} ${value} ${row.item.dataset.unit}`.trim();
  }
  if (!moment) return `${row.name}: no speech`;
  if (!moment.p) return `${row.name}: ${moment.none.textContent}`;
  const p = moment.p[row.k];
  const sign = holds(row, moment) ? "above" : "not above";
  const [told, threshold] = apart(p, row.threshold);
  return `${row.name} ${told}, ${sign} ${threshold}`;
};

// ---------------------------------------------------------------------- reading with a pointer

for (const chart of charts) {
  chart.readout = document.createElement("div");
  chart.readout.className = "readout";
  chart.readout.hidden = true;
  chart.readout.setAttribute("aria-hidden", "true");
  chart.append(chart.readout);
}
const reads = []; // lines at the time that is read
for (const row of rows) {
  const line = document.createElement("i");
  line.className = "read";
  line.hidden = true;
  row.track.append(line);
  reads.push(line);
  // the readout says it; a second box would cover it
  for (const title of row.track.querySelectorAll("title")) title.remove();
  for (const gap of row.track.querySelectorAll(".gap")) gap.removeAttribute("title");
}

const hideReadout = () => {
  for (const line of reads) line.hidden = true;
  for (const chart of charts) chart.readout.hidden = true;
};

/** Put lines at a time. One by one: a property of all of them would cost a look at every word. */
const putAt = (seconds, lines) => {
  const left = `${duration ? (100 * seconds) / duration : 0}%`;
  for (const line of lines) line.style.left = left;
};

const showReadout = (row, seconds, moment) => {
  const lines = [["b", clock(seconds)], ["span", valueOf(row, seconds, moment)]];
  if (moment) lines.push(["span", `“${moment.said}”`]);
  const parts = lines.map(([kind, text]) => {
    const part = document.createElement(kind);
    part.textContent = text;
    return part;
  });
  if (moment) parts[2].className = "said";

  const box = row.chart.readout;
  for (const chart of charts) chart.readout.hidden = chart !== row.chart;
  box.replaceChildren(...parts);
  putAt(seconds, reads);
  for (const line of reads) line.hidden = false;

  // beside the line, above the chart, inside of the page
  const frame = row.chart.getBoundingClientRect();
  const track = row.track.getBoundingClientRect();
  const x = track.left - frame.left + (duration ? (seconds / duration) * track.width : 0);
  const left = Math.min(Math.max(x - box.offsetWidth / 2, 0), frame.width - box.offsetWidth);
  box.style.left = `${left}px`;
  box.style.top = `${track.top - frame.top - box.offsetHeight - 6}px`;
};

const timeAt = (track, event) => {
  const box = track.getBoundingClientRect();
  const share = Math.min(Math.max((event.clientX - box.left) / box.width, 0), 1);
  return share * duration;
};

for (const row of rows) {
  const read = (event) => {
    const seconds = timeAt(row.track, event);
    showReadout(row, seconds, momentAt(seconds));
  };
  row.track.addEventListener("pointermove", read);
  row.track.addEventListener("pointerdown", read);
  row.track.addEventListener("pointerleave", (event) => {
    // what a finger has shown stays until another place is touched
    if (event.pointerType === "mouse") hideReadout();
  });
}
document.addEventListener("pointerdown", (event) => {
  if (!event.target.closest(".track")) hideReadout();
});

// ---------------------------------------------------------------------- going to a time

let isPlayable = false;
let place = 0; // seconds that are shown
const nows = document.querySelectorAll(".now");

let current; // the utterance at that time

const mark = (seconds) => {
  place = seconds;
  main.classList.add("placed");
  putAt(seconds, nows);
  const now = momentAt(seconds);
  if (now === current) return;
  current?.item.classList.remove("current");
  current?.item.removeAttribute("aria-current");
  now?.item.classList.add("current");
  now?.item.setAttribute("aria-current", "true");
  current = now;
};

const reveal = (seconds) => {
  const moment = momentAt(seconds);
  const isCalm = matchMedia("(prefers-reduced-motion: reduce)").matches;
  moment?.item.scrollIntoView({ block: "center", behavior: isCalm ? "auto" : "smooth" });
};

/** Go to a time: in the video where there is one, else to what is said then. */
const seek = (seconds, { play = false } = {}) => {
  mark(seconds);
  if (!isPlayable) return;
  video.currentTime = seconds;
  if (play) video.play().catch(() => {});
};

for (const row of rows) {
  row.track.addEventListener("click", (event) => {
    const seconds = timeAt(row.track, event);
    seek(seconds, { play: true });
    if (!isPlayable) reveal(seconds);
  });
}
for (const moment of moments) {
  moment.item.addEventListener("click", (event) => {
    const isSelecting = String(getSelection()) !== "";
    if (isSelecting) return;
    if (event.target.closest("a")) event.preventDefault();
    seek(moment.start, { play: true });
  });
}

// ---------------------------------------------------------------------- reading with keys

const tell = (row) => {
  const moment = momentAt(place);
  const said = moment ? `: ${moment.said}` : "";
  row.track.setAttribute("aria-valuenow", place.toFixed(1));
  const value = valueOf(row, place, moment);
  row.track.setAttribute("aria-valuetext", `${clock(place)}, ${value}${said}`);
};

for (const row of rows) {
  const track = row.track;
  track.setAttribute("role", "slider");
  track.setAttribute("aria-label", `${row.name} over time`);
  track.setAttribute("aria-valuemin", "0");
  track.setAttribute("aria-valuemax", duration.toFixed(1));
  if (document.querySelector("#keys")) track.setAttribute("aria-describedby", "keys");
  // one stop for the tabulator in each group of charts
  track.tabIndex = row === rows.find((other) => other.chart === row.chart) ? 0 : -1;
  tell(row);

  track.addEventListener("focus", () => {
    for (const other of rows) {
      if (other.chart === row.chart) other.track.tabIndex = other === row ? 0 : -1;
    }
    tell(row);
    if (track.matches(":focus-visible")) showReadout(row, place, momentAt(place));
  });
  track.addEventListener("blur", hideReadout);
  track.addEventListener("keydown", (event) => {
    if (event.altKey || event.ctrlKey || event.metaKey) return;
    if (useKey(row, event.key)) event.preventDefault();
  });
}

/** Do what a key says in a chart; return whether it says anything. */
const useKey = (row, key) => {
  const starts = moments.map((moment) => moment.start);
  const near = 0.01; // a player may stand a little beside the place it was sent to
  const targets = {
    ArrowRight: starts.find((start) => start > place + near),
    ArrowLeft: starts.findLast((start) => start < place - near),
    Home: starts[0],
    End: starts[starts.length - 1],
  };
  // at the beginning, the first utterance is the next one even where it starts at once
  const isPlaced = main.classList.contains("placed");
  if (key === "ArrowRight" && !isPlaced) targets.ArrowRight = starts[0];

  if (key in targets) {
    if (targets[key] !== undefined) seek(targets[key]);
    tell(row);
    showReadout(row, place, momentAt(place));
    return true;
  }
  if (key === "ArrowUp" || key === "ArrowDown") {
    const group = rows.filter((other) => other.chart === row.chart);
    const next = group[group.indexOf(row) + (key === "ArrowDown" ? 1 : -1)];
    next?.track.focus();
    return true;
  }
  if (key === "Enter" || key === " ") {
    if (!isPlayable) reveal(place);
    else if (video.paused) video.play().catch(() => {});
    else video.pause();
    return true;
  }
  return false;
};

// ---------------------------------------------------------------------- thresholds

const help = document.querySelector(".help");
const reset = help.querySelector("button");
const moved = help.querySelector(".moved");
const verdict = document.querySelector(".verdict");
const downloads = [...document.querySelectorAll(".download")];
const addresses = downloads.map((link) => link.getAttribute("href"));

const countOf = (row) => predicted.filter((moment) => holds(row, moment)).length;

/** Say what was found, in the same words as the program. */
const summary = (counts) => {
  const total = predicted.length;
  const held = emotions.map((row, k) => [row.name, counts[k]]).filter(([, count]) => count);
  held.sort((one, other) => other[1] - one[1]);
  if (!held.length) return [`No emotion holds in any of ${total} utterances.`, ""];

  const [[name, count], ...others] = held;
  const capital = name.charAt(0).toUpperCase() + name.slice(1).toLowerCase();
  const more = [];
  if (others.length) more.push(`Also ${others.map(([n, c]) => `${n} in ${c}`).join(", ")}.`);
  const without = predicted.filter((moment) => !emotions.some((row) => holds(row, moment))).length;
  if (without) more.push(`None of the emotions in ${without}.`);
  return [`${capital} in ${count} of ${total} utterances.`, more.join(" ")];
};

/** Show what holds by the thresholds as they stand. */
const decide = () => {
  const counts = emotions.map(countOf);
  for (const row of emotions) {
    const told = `${counts[row.k]} of ${predicted.length}`;
    for (const [i, bar] of row.bars.entries()) {
      const kind = holds(row, predicted[i]) ? "yes" : "no";
      if (bar.getAttribute("class") !== kind) bar.setAttribute("class", kind);
    }
    const y = Math.max(100 - row.threshold / top100, 0).toFixed(1);
    row.limit.setAttribute("y1", y);
    row.limit.setAttribute("y2", y);
    if (predicted.length) row.count.textContent = told;
    row.number.textContent = row.threshold.toFixed(2);
    row.slider.setAttribute("aria-valuetext", `${row.threshold.toFixed(2)}, holds in ${told}`);
    tell(row);
  }

  for (const moment of predicted) {
    let isAny = false;
    for (const [item, k] of moment.emotions) {
      const isHeld = holds(emotions[k], moment);
      if (item.hidden === isHeld) item.hidden = !isHeld;
      isAny ||= isHeld;
    }
    if (moment.none.hidden !== isAny) moment.none.hidden = isAny;
  }

  if (predicted.length) {
    const [first, more] = summary(counts);
    verdict.querySelector(".first").textContent = first;
    const second = verdict.querySelector("p:not(.first)") || document.createElement("p");
    second.textContent = more;
    second.hidden = !more;
    verdict.append(second);
  }

  const changed = emotions.filter((row) => row.threshold !== row.given);
  reset.disabled = !changed.length;
  const told = changed.map((row) => {
    const [now, before] = apart(row.threshold, row.given);
    return `${row.name} ${now} instead of ${before}`;
  });
  moved.textContent = told.length
    ? `Moved: ${told.join(", ")}.`
    : "The thresholds are those of the model.";

  const pairs = changed.map((row) => encodeURIComponent(`${row.name}:${row.threshold}`));
  const query = pairs.map((pair) => `threshold=${pair}`);
  for (const [i, link] of downloads.entries()) {
    link.href = query.length ? `${addresses[i]}?${query.join("&")}` : addresses[i];
  }
};

for (const row of emotions) {
  row.item.querySelector(".threshold").hidden = !predicted.length;
  row.slider.addEventListener("input", () => {
    row.threshold = Number(row.slider.value);
    decide();
  });
}
reset.addEventListener("click", () => {
  for (const row of emotions) {
    row.threshold = row.given;
    row.slider.value = row.given.toFixed(2);
  }
  decide();
  // a disabled button would lose the place of the keyboard
  emotions[0].slider.focus();
});
help.hidden = false;
reset.parentElement.hidden = !predicted.length;
for (const row of emotions) row.slider.value = row.given.toFixed(2);
decide();

// ---------------------------------------------------------------------- the chosen emotion

const transcript = document.querySelector(".transcript");
const choices = [...transcript.querySelectorAll("input[name=emotion]")];
const choose = () => {
  const k = choices.findIndex((choice) => choice.checked);
  transcript.className = `transcript chosen${k}`;
};
for (const choice of choices) choice.addEventListener("change", choose);
if (choices.length) choose();

// ---------------------------------------------------------------------- the video

const onReady = () => {
  isPlayable = true;
  const isBlind = video.classList.contains("picture") && !video.videoWidth;
  document.querySelector(".unseen").hidden = !isBlind;
};
const onError = () => {
  isPlayable = false;
  video.hidden = true;
  video.parentElement.classList.add("gone");
  document.querySelector(".unplayed").hidden = false;
  for (const told of document.querySelectorAll(".player p:not([class])")) told.hidden = true;
  // links into a video that is not there would lead nowhere
  for (const link of document.querySelectorAll("a.at")) link.removeAttribute("href");
};
if (video) {
  video.addEventListener("loadedmetadata", onReady);
  video.addEventListener("error", onError);
  for (const name of ["timeupdate", "seeked"]) {
    video.addEventListener(name, () => mark(video.currentTime));
  }
  // it may have happened before this ran
  if (video.readyState >= HTMLMediaElement.HAVE_METADATA) onReady();
  else if (video.error) onError();
}
