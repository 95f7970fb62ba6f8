// What is packed in the page: letters back to bytes, bytes unzipped by the browser, columns of whole numbers (see packing.py).
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
const packedText = (id) => byId(id).textContent.trim();

// A block: its header, and a function that gives the next column of so many numbers, null where undefined.
async function openBlock(text) {
  const bytes = new Uint8Array(await unzipped(text).arrayBuffer());
  const length = new DataView(bytes.buffer).getUint32(0, true);
  const header = JSON.parse(new TextDecoder().decode(bytes.subarray(4, 4 + length)));
  let at = 4 + length;
  const next = (count) => {
    const values = new Array(count);
    for (let i = 0; i < count; i++) {
      const folded = bytes[at + i] + bytes[at + count + i] * 256 + bytes[at + 2 * count + i] * 65536 + bytes[at + 3 * count + i] * 16777216;
      values[i] = folded ? (folded % 2 ? (folded - 1) / 2 : -folded / 2) : null;
    }
    at += 4 * count;
    return values;
  };
  return { header, next };
}

// Plotly becomes a script like ours: the page's policy names its hash, and so lets it run.
async function loadPlotly() {
  const script = element("script");
  script.textContent = await unzipped(packedText("plotly")).text();
  document.head.append(script);
  if (typeof Plotly === "undefined") throw new Error("Plotly did not run");
}
let plotly;
const plotlyLoaded = () => (plotly ??= loadPlotly());
