import assert from 'node:assert/strict';
import { coalesced } from '../../../src/ca/issuance/coalesced.ts';

describe('R38 questions that are coalesced', () => {
  const turn = () => new Promise((resolve) => setImmediate(resolve));

  it('share an answer that was begun after the last of them asked, one under way for each key', async () => {
    const asked: { key: string; answer: (value: number) => void }[] = [];
    const ask = coalesced((key) => new Promise<number>((answer) => asked.push({ key, answer })));
    const first = ask('a');
    const later = [ask('a'), ask('a')];
    const other = ask('b');
    await turn();
    assert.deepEqual(
      asked.map(({ key }) => key),
      ['a', 'b'],
    );
    asked[0]?.answer(1);
    assert.equal(await first, 1);
    await turn();
    assert.equal(asked.length, 3);
    const latest = ask('a');
    asked[2]?.answer(2);
    assert.deepEqual(await Promise.all(later), [2, 2]);
    await turn();
    asked[3]?.answer(3);
    assert.equal(await latest, 3);
    asked[1]?.answer(4);
    assert.equal(await other, 4);
    await turn();
    void ask('a');
    assert.equal(asked.length, 5, 'nothing is kept of an answer');
  });

  it('fail for those who asked, and for nobody after them', async () => {
    let asked = 0;
    const ask = coalesced(async () => {
      asked += 1;
      if (asked === 1) throw new Error('away');
      return asked;
    });
    const [failing, next] = [ask('a'), ask('a')];
    await assert.rejects(failing, /away/);
    assert.equal(await next, 2);
    assert.equal(await ask('a'), 3);
  });
});
