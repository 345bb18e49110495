"use strict";
// the page says everything without this: here the video and the timeline follow each other
const video = document.querySelector("video");
if (video) {
  const main = document.querySelector("main");
  const duration = Number(document.querySelector("[data-duration]").dataset.duration);
  const moments = [...document.querySelectorAll(".moment")];
  const seek = (seconds) => {
    video.currentTime = seconds;
    video.play().catch(() => {});
  };

  for (const moment of moments) {
    const start = Number(moment.dataset.start);
    moment.addEventListener("click", (event) => {
      const selecting = String(getSelection()) !== "";
      if (selecting) return;
      event.preventDefault();
      seek(start);
    });
  }
  for (const track of document.querySelectorAll(".track")) {
    track.addEventListener("click", (event) => {
      const box = track.getBoundingClientRect();
      seek(((event.clientX - box.left) / box.width) * duration);
    });
  }

  video.addEventListener("loadedmetadata", () => main.classList.add("playing"));
  video.addEventListener("timeupdate", () => {
    const now = video.currentTime;
    main.style.setProperty("--now", `${(100 * now) / duration}%`);
    for (const moment of moments) {
      const spoken = now >= Number(moment.dataset.start) && now < Number(moment.dataset.end);
      moment.classList.toggle("current", spoken);
      if (spoken) moment.setAttribute("aria-current", "true");
      else moment.removeAttribute("aria-current");
    }
  });
  video.addEventListener("error", () => {
    document.querySelector(".unplayed").hidden = false;
    video.hidden = true;
  });
}
