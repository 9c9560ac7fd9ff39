// The way in: join with one click, or sign in with a handle one has.

import { suggestHandle } from "./account.js";

const ADULT_BIRTH_DATE = "1990-01-01";

export class Door {
  constructor({ $, account, wanted }) {
    Object.assign(this, { $, account });
    this.join = $("join");
    this.enter = $("enter");
    this.join.elements.handle.value = this.enter.elements.handle.value = wanted ?? "";
    this.join.elements.handle.value ||= suggestHandle();
    this.join.elements.birth_date.value = ADULT_BIRTH_DATE;
    $("another").addEventListener("click", () => { this.join.elements.handle.value = suggestHandle(); });
    $("switch").addEventListener("click", () => this.turn(!this.join.hidden));
    this.join.addEventListener("submit", (event) => this.try(event, ({ handle, birth_date: born }) => account.join(handle, born)));
    this.enter.addEventListener("submit", (event) => this.try(event, ({ handle, password }) => account.enter(handle, password)));
  }

  open() {
    this.$("door").hidden = false;
    document.querySelector("main").inert = true;
    this.join.querySelector(".wide").focus({ preventScroll: true });
  }

  close() {
    this.$("door").hidden = true;
    document.querySelector("main").inert = false;
    this.enter.reset();
  }

  turn(signIn) {
    this.join.hidden = signIn;
    this.enter.hidden = !signIn;
    this.$("switch").textContent = signIn ? "I am new here" : "I have a handle already";
    this.$("door-error").hidden = true;
    (signIn ? this.enter : this.join).elements.handle.focus();
  }

  async try(event, run) {
    event.preventDefault();
    const form = event.target;
    const button = form.querySelector(".wide");
    const error = this.$("door-error");
    error.hidden = button.disabled = true;
    try {
      await run(Object.fromEntries(new FormData(form)));
    } catch (problem) {
      error.hidden = false;
      error.textContent = problem.status ? problem.message : "The engine does not answer. Is it running?";
      if (problem.status === 409) this.join.elements.handle.select();
    } finally {
      button.disabled = false;
    }
  }
}
