import type { CartStore } from './cart-store.ts';
import { parseQuantity } from './catalogue.ts';
import type { HttpAnswer, HttpCall } from './http-server.ts';

/** The cart service: `PUT /carts/<cart>/lines/<article>` sets a quantity, `GET /carts/<cart>` reads them all. */
export function cartService(store: CartStore): (call: HttpCall) => Promise<HttpAnswer> {
  return async ({ method, path, body }) => {
    const [root, cart, lines, article] = path;
    if (root === 'readyz') return { status: store.ready ? 200 : 503, body: { redis: store.ready } };
    if (root === 'healthz') return { status: 200, body: {} };
    if (root === 'stats') return { status: 200, body: store.counts };
    if (root !== 'carts' || cart === undefined) return { status: 404, body: { error: 'no such page' } };
    if (method === 'GET' && path.length === 2) {
      return { status: 200, body: { quantities: await store.read(cart) } };
    }
    if (method === 'PUT' && path.length === 4 && lines === 'lines' && article !== undefined) {
      const quantity = parseQuantity(body);
      if (quantity === undefined) return { status: 400, body: { error: 'quantity: a whole number from 1 to 99' } };
      await store.setLine(cart, article, quantity);
      return { status: 200, body: { cart, article, quantity } };
    }
    return { status: 405, body: { error: `${method} is not possible here` } };
  };
}
