/** The form for new and returning players. */

import { ApiError } from "./api.js";
import { find } from "./dom.js";
import { explain } from "./messages.js";

const RULES = {
  username: { pattern: /^[A-Za-z0-9_.-]{3,32}$/, text: "Use 3 to 32 letters, digits, _ . or -" },
  password: { pattern: /^.{10,128}$/su, text: "Use 10 to 128 characters" },
};

/** @typedef {keyof typeof RULES} FieldName */

export class SignIn {
  #section = find("#sign-in", HTMLElement);
  #form = find("#sign-in-form", HTMLFormElement);
  #returning = find("#sign-in-form input[value=login]", HTMLInputElement);
  #submit = find("#sign-in-submit", HTMLButtonElement);
  #message = find("#sign-in-message", HTMLElement);
  #fields = {
    username: { input: find("#username", HTMLInputElement), note: find("#username-note", HTMLElement) },
    password: { input: find("#password", HTMLInputElement), note: find("#password-note", HTMLElement) },
  };
  #api;
  #session;
  #busy = false;

  /**
   * @param {import("./api.js").ScoreboardApi} api
   * @param {import("./session.js").Session} session
   */
  constructor(api, session) {
    this.#api = api;
    this.#session = session;
    this.#form.addEventListener("submit", (event) => {
      event.preventDefault();
      void this.#send();
    });
    for (const radio of this.#form.querySelectorAll("input[type=radio]")) radio.addEventListener("change", () => this.#switch());
    for (const name of /** @type {FieldName[]} */ (["username", "password"])) {
      this.#fields[name].input.addEventListener("input", () => this.#complain(name, null));
    }
    this.#switch(); // a browser may have kept the choice over a reload
  }

  /** @param {boolean} visible */
  set visible(visible) {
    this.#section.hidden = !visible;
  }

  /** @param {string} text */
  say(text) {
    this.#message.textContent = text;
  }

  focus() {
    this.#fields.username.input.focus();
  }

  get #registers() {
    return new FormData(this.#form).get("mode") === "register";
  }

  #switch() {
    this.#submit.textContent = this.#registers ? "Create player" : "Log in";
    this.#fields.password.input.autocomplete = this.#registers ? "new-password" : "current-password";
    for (const { note } of Object.values(this.#fields)) note.hidden = !this.#registers;
    this.#complain("username", null);
    this.#complain("password", null);
    this.say("");
  }

  async #send() {
    if (this.#busy || !this.#isValid()) return;
    const username = this.#fields.username.input.value;
    const password = this.#fields.password.input.value;
    this.say("");
    this.#setBusy(true);
    try {
      const newcomer = this.#registers;
      if (newcomer) {
        await this.#api.register(username, password);
        this.#returning.checked = true; // should the login fail, it alone is to be tried again
      }
      this.#session.adopt(await this.#api.login(username, password), { newcomer });
      this.#form.reset();
      this.#switch();
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      this.#switch();
      this.#refused(error);
    } finally {
      this.#setBusy(false);
    }
  }

  /** @param {boolean} busy */
  #setBusy(busy) {
    this.#busy = busy;
    this.#submit.setAttribute("aria-disabled", String(busy));
  }

  #isValid() {
    // Whoever logs in may have chosen under other rules.
    const wrong = /** @type {FieldName[]} */ (["username", "password"]).filter((name) => {
      const { value } = this.#fields[name].input;
      return this.#registers ? !RULES[name].pattern.test(value) : value === "";
    });
    for (const name of wrong) this.#complain(name, this.#registers ? RULES[name].text : "Needed to log in");
    if (wrong[0] !== undefined) this.#fields[wrong[0]].input.focus();
    return wrong.length === 0;
  }

  /** @param {ApiError} error */
  #refused(error) {
    const field = error.code === "username_taken" ? "username" : error.details["field"];
    if (field !== "username" && field !== "password") {
      this.say(explain(error));
      return;
    }
    this.#complain(field, explain(error));
    this.#fields[field].input.focus();
  }

  /**
   * @param {FieldName} name
   * @param {string | null} text null: all is well
   */
  #complain(name, text) {
    const { input, note } = this.#fields[name];
    if (text === null) {
      input.removeAttribute("aria-invalid");
      note.hidden = !this.#registers;
    } else {
      input.setAttribute("aria-invalid", "true");
      note.hidden = false;
    }
    note.textContent = text ?? note.dataset["hint"] ?? "";
  }
}
