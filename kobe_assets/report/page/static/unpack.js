// Blocks of whole numbers (see packing.py), and plotly once it is wanted.
const { unzipped, packedText, runPacked, cannotUnpack } = window.kobe;

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

let plotly;
const plotlyLoaded = () => (plotly ??= runPacked("plotly").then(() => {
  if (typeof Plotly === "undefined") throw new Error("Plotly did not run");
}));
