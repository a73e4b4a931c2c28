"use strict";

// `versions.json` beside this version's folder lists the folders of all versions. From a
// disk a browser does not read it; then, and without it, the list holds this version alone.
async function offerVersions(choice) {
  const root = new URL(choice.dataset.root, location.href);
  const found = await fetch(new URL("../versions.json", root));
  if (!found.ok) return;
  const own = choice.value;
  choice.replaceChildren(
    ...(await found.json()).map((name) => new Option(name, name, false, name === own)),
  );
  const page = location.href.slice(root.href.length);
  choice.addEventListener("change", async () => {
    const home = new URL(`../${choice.value}/`, root);
    const same = new URL(page, home);
    const exists = (await fetch(same, { method: "HEAD" })).ok;
    location.assign(exists ? same : new URL("index.html", home));
  });
}

// On a phone a picture of several panels scrolls in its own box (site.css).
function markWide(image) {
  if (image.naturalWidth > 1.7 * image.naturalHeight) image.parentElement.classList.add("panels");
}

addEventListener("DOMContentLoaded", () => {
  const choice = document.getElementById("versions");
  if (choice && location.protocol.startsWith("http")) offerVersions(choice);
  for (const image of document.querySelectorAll(".content img[src$='.png']")) {
    if (image.complete) markWide(image);
    else image.addEventListener("load", () => markWide(image));
  }
});
