"use strict";
// without this, a wrong token leads to a page of JSON
const form = document.querySelector("form");
const token = form.querySelector("input");
const warning = form.querySelector(".warning");

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  const body = new URLSearchParams({ token: token.value });
  try {
    const answer = await fetch("/login", { method: "POST", body });
    if (answer.ok) {
      location.replace("/");
      return;
    }
    const { error } = await answer.json();
    warning.textContent = answer.status === 401 ? "That is another token." : error.found;
  } catch {
    warning.textContent = "The service does not answer.";
  }
  warning.hidden = false;
  token.select();
});
