/** What a strict content security policy asks of the page's own files. */

import assert from "node:assert/strict";
import { readFile, readdir } from "node:fs/promises";
import { test } from "node:test";

const PAGE = new URL("../page/", import.meta.url);
const html = await readFile(new URL("index.html", PAGE), "utf8");

test("no inline script, style or handler", () => {
  assert.doesNotMatch(html, /<style|\sstyle=|\son[a-z]+=|javascript:/i);
  for (const [, attributes] of html.matchAll(/<script\b([^>]*)>/g)) assert.match(attributes ?? "", /\ssrc="/);
});

test("nothing comes from elsewhere", async () => {
  for (const name of (await readdir(PAGE, { recursive: true })).filter((file) => file.includes("."))) {
    const text = (await readFile(new URL(name, PAGE), "utf8")).replaceAll("http://www.w3.org/2000/svg", "");
    assert.doesNotMatch(text, /(src|href)="(https?:)?\/\/|url\(|@import|from "https?:/, name);
  }
});

test("every id that is pointed at exists once", () => {
  const ids = [...html.matchAll(/\sid="([^"]+)"/g)].map(([, id]) => id);
  assert.equal(new Set(ids).size, ids.length);
  for (const [, id] of html.matchAll(/\s(?:for|aria-labelledby|aria-describedby|href)="#?([a-z-]+)"/g)) {
    assert.ok(ids.includes(id), `there is no #${id}`);
  }
});

test("text from the service never becomes markup", async () => {
  for (const name of (await readdir(PAGE, { recursive: true })).filter((file) => file.endsWith(".js"))) {
    assert.doesNotMatch(await readFile(new URL(name, PAGE), "utf8"), /innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(/, name);
  }
});
