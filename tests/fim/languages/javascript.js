import { readFile } from "node:fs/promises";
const path = require("node:path");

const LIMIT = 3;

class Stock {
  constructor(left) {
    this.left = left;
  }

  scarce() {
    // Sorted, so that the list keeps still.
    return Object.keys(this.left).filter((name) => ║this.left[name] < LIMIT).sort();
  }
}

export const load = async (file) => {
  const text = await readFile(path.join("data", file), "utf8");
  return new Stock(JSON.parse(text));
};

function show(stock) {
  return `scarce: ${stock.scarce()}`;
}
