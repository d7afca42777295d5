import { CATALOGUE, parseQuantities, parseQuantity, total } from './catalogue.ts';
import type { HttpClient } from './http-client.ts';
import type { HttpAnswer, HttpCall } from './http-server.ts';

/** The shop's front: a page with the catalogue, and the carts under `/api/carts`, which it gets from the cart service. */
export function webFront(cartUrl: string, client: HttpClient): (call: HttpCall) => Promise<HttpAnswer> {
  let cartReached = false;
  const ready = async (): Promise<HttpAnswer> => {
    // Once: on a node whose rules for the cart's Service are not there yet every request would fail. Later it is the
    // cart that is ready or not.
    cartReached ||= (await client.request('GET', `${cartUrl}/healthz`)).status === 200;
    return { status: cartReached ? 200 : 503, body: { cart: cartReached } };
  };
  return async ({ method, path, body }) => {
    const [root, kind, cart, lines, article] = path;
    if (root === undefined) return { status: 200, body: page() };
    if (root === 'healthz') return { status: 200, body: {} };
    if (root === 'readyz') return ready();
    if (root === 'stats') return { status: 200, body: client.counts };
    if (root !== 'api' || kind !== 'carts' || cart === undefined)
      return { status: 404, body: { error: 'no such page' } };
    const cartPage = `${cartUrl}/carts/${encodeURIComponent(cart)}`;
    if (method === 'GET' && path.length === 3) {
      const reply = await client.request('GET', cartPage);
      if (reply.status !== 200) return upstream(reply);
      const quantities = parseQuantities(reply.body);
      return { status: 200, body: { quantities, total: total(quantities) } };
    }
    if (method === 'PUT' && path.length === 5 && lines === 'lines' && article !== undefined) {
      if (!Object.hasOwn(CATALOGUE, article)) return { status: 404, body: { error: `no such article: ${article}` } };
      const quantity = parseQuantity(body);
      if (quantity === undefined) return { status: 400, body: { error: 'quantity: a whole number from 1 to 99' } };
      return upstream(await client.request('PUT', `${cartPage}/lines/${article}`, { quantity }));
    }
    return { status: 405, body: { error: `${method} is not possible here` } };
  };
}

function upstream(reply: { status: number; body: string }): HttpAnswer {
  return { status: reply.status === 500 ? 502 : reply.status, body: JSON.parse(reply.body) };
}

function page(): string {
  const rows = Object.entries(CATALOGUE).map(
    ([article, { name, price }]) => `<tr><td>${article}<td>${name}<td>${(price / 100).toFixed(2)}</tr>`,
  );
  return `<!doctype html><title>The tea shop</title><h1>The tea shop</h1><table>${rows.join('')}</table>\n`;
}
