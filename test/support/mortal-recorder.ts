/**
 * A recorder that dies when it parses a request whose path contains `poison`. So a test can choose when it dies, as
 * from a fault in native code or a heap overflow.
 */
import { Routes } from '../../src/core/routes.ts';

const read = Routes.prototype.of;
Routes.prototype.of = function of(method: string, target: string) {
  if (target.includes('poison')) process.exit(70);
  return read.call(this, method, target);
};
await import('../../src/cli/workers/recorder.ts');
