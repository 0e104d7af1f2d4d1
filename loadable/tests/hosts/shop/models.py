from django.db import models


class Account(models.Model):
    name = models.CharField(max_length=20, unique=True)
    amount = models.IntegerField(default=0)


class Note(models.Model):
    account = models.ForeignKey(Account, on_delete=models.CASCADE)
    writer = models.CharField(max_length=20, db_index=True)
    number = models.IntegerField(default=0)
