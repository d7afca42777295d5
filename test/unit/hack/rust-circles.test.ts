import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { circlesOf } from '../../../hack/verify/rust-circles.ts';

describe('circles between the modules of a Rust crate', () => {
  let folder: string;
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'tulle-rust-modules-'));
  });
  afterEach(() => rmSync(folder, { recursive: true }));

  const circles = (files: Record<string, string>) => {
    for (const [name, text] of Object.entries(files)) {
      mkdirSync(dirname(join(folder, name)), { recursive: true });
      writeFileSync(join(folder, name), text);
    }
    return circlesOf(join(folder, 'lib.rs'));
  };

  it('names the modules on a circle, and where each uses the next', () => {
    const found = circles({
      'lib.rs': 'mod a;\nmod b;\nmod c;\nmod below;',
      'a.rs': 'use crate::b::B;\nuse crate::below::Z;',
      'b/mod.rs': 'mod part;',
      'b/part.rs': 'fn f() { crate::c::g(); }',
      'c.rs': 'use super::{a::{self, A}, below};',
      'below.rs': '',
    });
    assert.deepEqual(found, [{ modules: ['a', 'b', 'c'], uses: ['a uses b', 'b::part uses c', 'c uses a'] }]);
  });

  it('finds a circle between the parts of a folder', () => {
    const found = circles({
      'lib.rs': 'mod folder;',
      'folder/mod.rs': 'mod a;\nmod b;',
      'folder/a.rs': 'use super::b;',
      'folder/b.rs': 'use crate::folder::a::A;',
    });
    assert.deepEqual(
      found.map(({ modules }) => modules),
      [['folder::a', 'folder::b']],
    );
  });

  it('follows a re-export to where the thing is', () => {
    const found = circles({
      'lib.rs': 'mod folder;',
      'folder/mod.rs': 'mod a;\nmod b;\npub use b::B as Renamed;\nuse a::A;',
      'folder/a.rs': 'use super::Renamed;',
      'folder/b.rs': 'use super::A;',
    });
    assert.deepEqual(
      found.map(({ modules }) => modules),
      [['folder::a', 'folder::b']],
    );
  });

  it('takes a module and its own parts for one thing', () => {
    const found = circles({
      'lib.rs': 'mod folder;\nuse folder::Part;\npub struct Whole;',
      'folder/mod.rs': 'mod part;\npub use part::Part;\npub struct Shared;\nuse crate::Whole;',
      'folder/part.rs': 'use super::Shared;\nuse crate::folder::Shared as Same;',
    });
    assert.deepEqual(found, []);
  });

  it('leaves out comments, texts and what is compiled for tests', () => {
    const found = circles({
      'lib.rs': 'mod a;\nmod b;',
      'a.rs': 'use crate::b::B;',
      'b.rs': `//! See [crate::a::A].
        /* use crate::a::A; */
        const TEXT: &str = "crate::a::A \\" crate::a::A";
        const RAW: &str = r#"use crate::a::A;"#;
        const QUOTE: char = '"';
        #[cfg(test)]
        impl B { fn f(_: [u8; 2]) { crate::a::f(); } }
        #[cfg(test)]
        #[path = "b_test.rs"]
        mod tests;
        #[cfg(test)]
        mod others { use crate::a::A; }`,
      'b_test.rs': 'use crate::a::A;',
    });
    assert.deepEqual(found, []);
  });

  it('says which module has no file', () => {
    assert.throws(() => circles({ 'lib.rs': 'mod lost;' }), /lib\.rs declares the module lost, which has no file/);
  });
});
