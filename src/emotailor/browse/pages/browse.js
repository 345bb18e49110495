// Comfort alone: the arrow keys lead to the sample, or the page of the list, before and behind.
"use strict";

document.addEventListener("keydown", (event) => {
  const isInField = event.target.closest("input, select, textarea, [tabindex]") !== null;
  if (isInField || event.altKey || event.ctrlKey || event.metaKey || event.shiftKey) {
    return;
  }
  const wanted = { ArrowLeft: "prev", ArrowRight: "next" }[event.key];
  const link = wanted && document.querySelector(`a[rel=${wanted}]`);
  if (link) {
    event.preventDefault();
    link.click();
  }
});
