"""The layouts as other people's languages have them: one module a language, each yielding lines."""
