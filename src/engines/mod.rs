//! What each engine's files look like: where they are, how the engine reads them, what gpulease
//! writes into them, and how the engine is made to read them again.
