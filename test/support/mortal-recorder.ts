/**
 * A recorder that dies of any request whose path names poison, at the moment it takes it apart: what a fault in
 * native code or a heap overflow would do, at a place that a test can choose.
 */
import { Routes } from '../../src/core/routes.ts';

const read = Routes.prototype.of;
Routes.prototype.of = function of(method: string, target: string) {
  if (target.includes('poison')) process.exit(70);
  return read.call(this, method, target);
};
await import('../../src/cli/workers/recorder.ts');
