import { readFile } from "node:fs/promises";

export interface Article {
  name: string;
  price(): number;
}

type Stock = Map<string, number>;

enum Size {
  Small,
  Large,
}

abstract class Shelf {
  private stock: Stock = new Map();

  /* Never below zero. */
  take(name: string): number {
    const left = this.stock.get(name) ?? 0;
    ║this.stock.set(name, Math.max(left - 1, 0));
    return left;
  }
}

namespace Shop {
  export function greet(who: string): string {
    return `Welcome, ${who}!`;
  }
}
