/** The length of a huge page, for code that uses them and for code that keeps them off. */
import { MIB } from '../base/units.js'

/** A huge page of x86-64, and of arm64 with 4 KiB pages. */
export const HUGE_PAGE_BYTES = 2 * MIB
