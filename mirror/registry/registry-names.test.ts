import assert from 'node:assert/strict';
import test from 'node:test';
import { parseRegistry, type Registry } from '../../common/oci/reference.ts';
import { createRegistryNames, OTHER } from './registry-names.ts';

const registry = (name: string) => parseRegistry(name) as Registry;

test('a listed registry, and one that something was served of, have their names', () => {
  const nameOf = createRegistryNames([registry('a.example')]);

  assert.equal(nameOf(registry('a.example'), false), 'a.example');
  assert.equal(nameOf(registry('b.example'), false), OTHER);
  assert.equal(nameOf(registry('b.example'), true), 'b.example');
  assert.equal(nameOf(registry('b.example'), false), 'b.example');
  assert.equal(nameOf(undefined, true), OTHER);
});

test('names that pods make up are limited', () => {
  const nameOf = createRegistryNames([]);

  const names = new Set(Array.from({ length: 1000 }, (_, index) => nameOf(registry(`r${index}.example`), true)));

  assert.equal(names.size, 33);
  assert.equal(nameOf(registry('r999.example'), true), OTHER);
});
