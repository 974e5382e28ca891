"""Platforms to posts: sources, parsers, spiders and politeness (Scrapy). Knows no storage and no model."""
