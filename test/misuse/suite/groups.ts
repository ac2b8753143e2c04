import type { MisuseGroup } from './case.js'
import { HANDED_OVER, PROCESS_ENDS } from './ends.js'
import { FREE_OF_OTHERS, FREE_TWICE } from './free.js'
import { LEAKS } from './leaks.js'
import { PINS, REALLOC } from './pins.js'
import { CLOSING, SCOPES } from './scopes.js'
import { FREE_IN_FLIGHT, USE_AFTER_FREE } from './use.js'
import { PATCHES, VALUES } from './values.js'

/** All of the suite. */
export const GROUPS: readonly MisuseGroup[] = [
  FREE_TWICE,
  FREE_OF_OTHERS,
  USE_AFTER_FREE,
  FREE_IN_FLIGHT,
  PINS,
  REALLOC,
  SCOPES,
  CLOSING,
  VALUES,
  PATCHES,
  LEAKS,
  HANDED_OVER,
  PROCESS_ENDS,
]
