// What is packed in the page: letters back to bytes, bytes unzipped by the browser (see packing.py). The first script of the
// page: it unpacks the others, which the page's policy names by their hashes, and which find it as `kobe`.
const LETTERS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz!#$%&()*+-;,=>?@^_`{|}~";
const VALUES = new Uint8Array(128);
[...LETTERS].forEach((letter, value) => { VALUES[letter.charCodeAt(0)] = value; });

// Five letters are four bytes; a shorter group at the end is one byte less than it has letters.
function bytesOf(text) {
  const groups = Math.ceil(text.length / 5), short = groups * 5 - text.length, bytes = new Uint8Array(groups * 4);
  for (let g = 0, at = 0; g < groups; g++) {
    let sum = 0;
    for (let i = 0; i < 5; i++, at++) sum = sum * 85 + (at < text.length ? VALUES[text.charCodeAt(at)] : 84);
    bytes[g * 4] = sum >>> 24; bytes[g * 4 + 1] = sum >>> 16; bytes[g * 4 + 2] = sum >>> 8; bytes[g * 4 + 3] = sum;
  }
  return bytes.subarray(0, bytes.length - short);
}

const unzipped = (text) => new Response(new Blob([bytesOf(text)]).stream().pipeThrough(new DecompressionStream("gzip")));
const packedText = (id) => document.getElementById(id).textContent.trim();

async function runPacked(id) {
  const script = document.createElement("script");
  script.textContent = await unzipped(packedText(id)).text();
  document.head.append(script);
}

function cannotUnpack() {
  document.getElementById("cannot-unpack").hidden = false;
  document.querySelectorAll("main .plot, .filled, .unpacked, .scale, .grid-picks").forEach((place) => { place.hidden = true; });
  document.documentElement.dataset.drawn = "yes";
}

window.kobe = { unzipped, packedText, runPacked, cannotUnpack };
if (typeof DecompressionStream === "undefined") cannotUnpack();
else runPacked("script").catch(cannotUnpack);
