<?php

namespace Shop;

use Countable;
require_once 'article.php';

const LIMIT = 3;

interface Scarce
{
    public function scarce(): array;
}

class Stock implements Scarce
{
    private array $left = [];

    public function scarce(): array
    {
        // Keys only.
        return array_keys(array_filter($this->left, fn ($n) => ║$n < LIMIT));
    }
}

function show(Stock $stock): string
{
    return "scarce: {$stock->scarce()[0]}" . 'x';
}
