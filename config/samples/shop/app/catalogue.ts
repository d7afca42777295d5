export interface Item {
  readonly name: string;
  /** In cents. */
  readonly price: number;
}

/** What the shop sells, by article number. */
export const CATALOGUE: Readonly<Record<string, Item>> = {
  'tea-01': { name: 'Assam, 100 g', price: 690 },
  'tea-02': { name: 'Sencha, 100 g', price: 1190 },
  'cup-01': { name: 'Cup, white', price: 850 },
  'pot-01': { name: 'Teapot, cast iron', price: 4900 },
};

/** The quantities of a cart, by article number. */
export type Quantities = Readonly<Record<string, number>>;

export const MAX_QUANTITY = 99;

/** Reads a quantity from a request's body `{"quantity": n}`; undefined unless a whole number from 1 to 99. */
export function parseQuantity(body: string): number | undefined {
  const parsed = parseJson(body);
  if (typeof parsed !== 'object' || parsed === null || !('quantity' in parsed)) return undefined;
  const { quantity } = parsed;
  if (typeof quantity !== 'number' || !Number.isInteger(quantity)) return undefined;
  return quantity >= 1 && quantity <= MAX_QUANTITY ? quantity : undefined;
}

/** Reads a reply of the form `{"quantities": {article: n}}`; throws on any other. */
export function parseQuantities(body: string): Quantities {
  const parsed = parseJson(body);
  if (typeof parsed === 'object' && parsed !== null && 'quantities' in parsed) {
    const { quantities } = parsed;
    if (typeof quantities === 'object' && quantities !== null) {
      const entries = Object.entries(quantities);
      if (entries.every(([, quantity]) => Number.isInteger(quantity))) return Object.fromEntries(entries);
    }
  }
  throw new Error(`not a cart: ${body.slice(0, 200)}`);
}

/** What a cart costs, in cents; articles that are not sold cost nothing. */
export function total(quantities: Quantities): number {
  return Object.entries(quantities).reduce((sum, [article, n]) => sum + n * (CATALOGUE[article]?.price ?? 0), 0);
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
